// Wraps cuDNN 9's cudnn.h: declares the recurrent calls of cuDNN 8 that Jittor 1.3.11 names and cuDNN 9
// has dropped, and makes convolutions in 16 bits accumulate in float32. This project has no recurrent
// layer: these calls only have to compile, and return that they are not supported.
#pragma once
#include "../real/cudnn.h"
#if defined(__cplusplus) && CUDNN_MAJOR >= 9
#define LANDSCAPE_DROPPED(name)                          \
    template <class... Arguments>                        \
    inline cudnnStatus_t name(Arguments&&...) {          \
        return CUDNN_STATUS_NOT_SUPPORTED;               \
    }
LANDSCAPE_DROPPED(cudnnSetRNNDescriptor_v6)
LANDSCAPE_DROPPED(cudnnGetRNNParamsSize)
LANDSCAPE_DROPPED(cudnnGetRNNWorkspaceSize)
LANDSCAPE_DROPPED(cudnnGetRNNTrainingReserveSize)
LANDSCAPE_DROPPED(cudnnGetRNNLinLayerMatrixParams)
LANDSCAPE_DROPPED(cudnnGetRNNLinLayerBiasParams)
LANDSCAPE_DROPPED(cudnnRNNForwardTraining)
LANDSCAPE_DROPPED(cudnnRNNForwardInference)
LANDSCAPE_DROPPED(cudnnRNNBackwardData)
LANDSCAPE_DROPPED(cudnnRNNBackwardWeights)
#undef LANDSCAPE_DROPPED

// Jittor requests accumulation in the type of a convolution's result. A sum over every pixel in float16
// loses most of a weight's gradient, and cuDNN cannot accumulate in bfloat16 (its documented
// configurations are PSEUDO_HALF and PSEUDO_BFLOAT16: 16 bits in and out, float32 in between).
inline cudnnStatus_t landscape_convolution(cudnnConvolutionDescriptor_t convolution, int length,
                                           const int padding[], const int stride[],
                                           const int dilation[], cudnnConvolutionMode_t mode,
                                           cudnnDataType_t type) {
    const bool short_type = type == CUDNN_DATA_HALF || type == CUDNN_DATA_BFLOAT16;
    return cudnnSetConvolutionNdDescriptor(convolution, length, padding, stride, dilation, mode,
                                           short_type ? CUDNN_DATA_FLOAT : type);
}
#define cudnnSetConvolutionNdDescriptor landscape_convolution
#endif
